"""Evalgate's evaluator: the evaluation itself, run at home, against any service over HTTP."""
