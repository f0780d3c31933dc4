"""What the process tells about itself: counters, and the stage that feeds them."""
