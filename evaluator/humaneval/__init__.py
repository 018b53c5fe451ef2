"""HumanEval: asks a model for 164 functions, runs their tests in the sandbox, tells pass@k."""
