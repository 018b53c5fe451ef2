"""Runs other people's evaluation tools against a running engine, their figures beside ours."""
