"""Stand-ins for outside worlds, run as real programs on real sockets."""
