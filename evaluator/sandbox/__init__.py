"""Runs programs that nobody has read, each in a fresh process that can harm nothing around it."""
