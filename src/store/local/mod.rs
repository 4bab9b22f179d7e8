//! The store on this machine's disk: the journal's writer thread, and redb for records and the catalogue.
