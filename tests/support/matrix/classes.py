"""What a fault comes to: the classes of the document, and two more.

R  retried, and charged; F  retried on a new connection, free of charge; P  the whole client pauses;
W  the window failed, the rest goes on; J  the stream stops; X  refused before anything is sent;
A  taken as it is, with nothing sent twice; C  ended by its consumer: what was handed out is true, and nothing is left.
"""

import enum


class Class(enum.Flag):
    """What a fault comes to."""

    R, F, P, W, J, X, A, C = (enum.auto() for _ in range(8))


R, F, P, W, J, X, A, C = Class
