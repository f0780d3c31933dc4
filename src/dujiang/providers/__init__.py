"""What answers a call in the end: vendors, self-hosted services, the embedded model."""
