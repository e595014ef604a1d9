"""Archive: every record, written to each sink by its own queue; message store, event log and files
are such sinks."""
