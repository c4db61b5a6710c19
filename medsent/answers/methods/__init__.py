"""The answer methods, a module each, which is named as the configuration names the method.

A module has a `METHOD`, an `AnswerMethod`; nothing else names it: `medsent.config.methods` finds
the names and `medsent.answers.method.method_named` the modules.
"""
