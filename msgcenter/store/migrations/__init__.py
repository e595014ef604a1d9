"""The migrations of the Store, run by `msgcenter.store.migrate`; `versions/` holds one file for
each."""
