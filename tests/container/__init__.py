"""The image: built, run without a network, judged; with Debian's tools, as root, no daemon."""
