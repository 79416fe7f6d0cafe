"""Wrong answers that people write, planted in lesson 00: each must be caught at the property named."""


def a_share_of_days(availability, days=30):
    return (1 - availability) * days


def always_thirty_days(availability, days=30):
    return (1 - availability) * 30 * 24 * 60


def takes_percentages(availability, days=30):
    return (1 - availability) * days * 24 * 60


def whole_days_only(availability, days=30):
    return (1 - availability) * int(days) * 24 * 60


def rounded(availability, days=30):
    if not 0 <= availability <= 1:
        raise ValueError
    return round((1 - availability) * days * 24 * 60, 1)


def caps_a_percentage(availability, days=30):
    return (1 - min(max(availability, 0), 1)) * days * 24 * 60


def lets_nan_through(availability, days=30):
    if availability < 0 or availability > 1:
        raise ValueError
    return (1 - availability) * days * 24 * 60


def refuses_the_ends(availability, days=30):
    if not 0 < availability < 1:
        raise ValueError
    return (1 - availability) * days * 24 * 60


WRONG = {
    "00.1": {
        a_share_of_days: "99.9 % over 30 days leaves 43.2 minutes",
        always_thirty_days: "any number of days counts",
        whole_days_only: "any number of days counts",
        refuses_the_ends: "both ends are right: always up, never up",
        rounded: "nothing is rounded",
        caps_a_percentage: "a percentage in place of a share is refused",
        lets_nan_through: "NaN is refused: it is no share either",
        takes_percentages: "a percentage in place of a share is refused",
    },
}
