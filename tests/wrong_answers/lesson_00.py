"""Wrong answers that people write, planted in lesson 00: each must be caught at the property named."""


def a_share_of_days(availability, days=30):
    return (1 - availability) * days


def always_thirty_days(availability, days=30):
    return (1 - availability) * 30 * 24 * 60


def takes_percentages(availability, days=30):
    return (1 - availability) * days * 24 * 60


def whole_days_only(availability, days=30):
    return (1 - availability) * int(days) * 24 * 60


WRONG = {
    "00.1": {
        a_share_of_days: "99.9 % over 30 days leaves 43.2 minutes",
        always_thirty_days: "any number of days counts",
        whole_days_only: "any number of days counts",
        takes_percentages: "a percentage in place of a share is refused",
    },
}
