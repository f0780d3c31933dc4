"""Where records are, under the data directory."""

JOURNAL = "journal"
RECORDS = "records"
