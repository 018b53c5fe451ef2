"""The engines that the launcher can start, one file each."""
