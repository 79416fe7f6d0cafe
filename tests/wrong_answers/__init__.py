"""The planted wrong answers, a file a lesson: exercise -> {function: the property at which its check must catch it}."""

import importlib
import pkgutil

WRONG = {
    number: planted
    for module in pkgutil.iter_modules(__path__, f"{__name__}.")
    for number, planted in importlib.import_module(module.name).WRONG.items()
}
