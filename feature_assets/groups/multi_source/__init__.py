"""Groups that read one source each: statements, contracts, sessions, contacts, campaigns. Source: FEATURES §3.2."""
