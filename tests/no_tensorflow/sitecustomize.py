"In the search path of a Python: TensorFlow is as if it weren't installed."
from importlib.machinery import PathFinder

HIDDEN = "tensorflow"
find_spec = PathFinder.find_spec
find_distributions = PathFinder.find_distributions


def spec_but_hidden(name, path=None, target=None):
    return None if name.partition(".")[0] == HIDDEN else find_spec(name, path, target)


def distributions_but_hidden(*args, **options):
    found = find_distributions(*args, **options)
    return (one for one in found if (one.name or "").lower() != HIDDEN)


PathFinder.find_spec = staticmethod(spec_but_hidden)
PathFinder.find_distributions = staticmethod(distributions_but_hidden)
