"""rtc_inference: makes chunks; its thread runs the model."""
