"""Owns how a text is cut into words: by jieba, loaded here and nowhere else. Must not score."""

from __future__ import annotations

import logging
import warnings

with warnings.catch_warnings():
    # jieba 0.42.1 is from 2020: unescaped patterns (a SyntaxWarning when it is compiled) and
    # pkg_resources (a warning under setuptools 67 to 81).
    warnings.simplefilter("ignore")
    import jieba

# It tells at every start how it loads its dictionary, and with a traceback when the temporary
# folder takes no cache of it, which costs only time.
jieba.setLogLevel(logging.CRITICAL)


def words(text: str) -> list[str]:
    """Cut the text; the joined words are the text, white space included."""
    cut: list[str] = jieba.lcut(text)
    return cut
