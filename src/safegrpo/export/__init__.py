"""Export: a recipe and its data for other engines than ours, verl and EasyR1.

`rewards` is what those engines load, and needs no more than safegrpo's own dependencies.
"""
