"""What happened strictly before an as-of date, as arrays: the barrier of time and the views of it that groups share."""
