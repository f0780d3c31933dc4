"""A scriptable upstream that speaks the providers' wire formats, for tests and rehearsals in a vendor's place."""
