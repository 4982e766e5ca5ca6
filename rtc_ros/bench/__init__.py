"""What `rtc_ros bench …` measures, side by side with the alternative."""
