"""Evalgate's launcher: finds the hardware, fetches the model, starts and watches the engine."""
