"""rtc_controller: executes one action per Δt; never imports torch."""
