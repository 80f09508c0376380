"""Kernels measured beside the stock ways of doing the same work.

A *task* is one size of one case; its *entrants* are ours and the stock ways. Everybody's result is
compared with ours before a clock starts, then all run in turn, round after round, on inputs that
rotate. What comes out is a :class:`~archspec.bench.results.Report` of raw times, from which tables
and plots are made elsewhere. Reads only the kernels, torch and the standard library, so that
``python -m archspec.bench`` runs on a machine that has nothing else.
"""
