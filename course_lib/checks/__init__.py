"""The exercises' checks, a file a lesson: each walks through the properties in the order in which to think of them."""

from collections.abc import Callable, Iterator

from course_lib.idioms.exercises import Exercise, Property


class Register(dict[str, Exercise]):
    """A lesson's exercises by number; `@EXERCISES.add("02.3", "Keep the tail")` above a check adds one."""

    def add(self, number: str, title: str) -> Callable:
        """Registers the decorated generator of properties under `number`."""

        def keep(properties: Callable[[object], Iterator[Property]]) -> Callable[[object], Iterator[Property]]:
            self[number] = Exercise(number, title, properties)
            return properties

        return keep


def raises(error: type[Exception], function: Callable, *arguments: object) -> bool:
    """Whether the call raises `error`; NotImplementedError, which means "not started", goes on."""
    try:
        function(*arguments)
    except NotImplementedError:
        raise
    except error:
        return True
    return False
