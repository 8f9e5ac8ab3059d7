"""Calls functions, methods, closures and generators, and does nothing else: `work(n)` makes n rounds of them and gives
the seconds that it took, `calls(n)` calls `once` n times, `plain(n)` makes n rounds of an empty loop. Nothing but what is
asked for runs. Truth: `never` is never called, and what `work` comes to is looked at each time.
"""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import commands


def never(n):
    return n + 1  # marked: never


def once(n):
    return n  # marked: once


def leaf(a, b=1):
    return a + b


class Counter(object):
    def __init__(self):
        self.count = 0

    def add(self, n):
        self.count += n
        return self

    @staticmethod
    def half(n):
        return n >> 1


def adder(n):
    def add(m):
        return n + m
    return add


def some(n):
    yield n
    yield n + 1


def deeper(n):
    return n if n < 1 else deeper(n - 1)


def round_of(counter, add, n):
    counter.add(leaf(n)).add(Counter.half(n))
    for m in some(n):
        counter.add(add(m))
    return deeper(5)


def work(rounds):
    counter, add = Counter(), adder(3)
    clock = time.perf_counter
    begun = clock()
    for n in range(rounds):
        round_of(counter, add, n)
    took = clock() - begun
    right = sum(n + 1 + (n >> 1) + 2 * n + 7 for n in (0, rounds - 1)) * rounds // 2
    # The halves are rounded.
    if abs(counter.count - right) > rounds:
        raise ValueError(counter.count, right)
    return took


def calls(count):
    clock, function = time.perf_counter, once
    begun = clock()
    for n in range(count):
        function(n)
    return clock() - begun


commands.ready()
commands.serve()
