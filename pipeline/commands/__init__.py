"""One file a verb of `ple`. Parsing, messages and exit codes belong here, the work itself does not."""
