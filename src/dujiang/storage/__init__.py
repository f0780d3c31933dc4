"""Where Dujiang keeps what must outlive a process."""
