"""rtc_recorder: a run as a rosbag."""
