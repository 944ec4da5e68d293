import pickle
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from app.demo.people import COUNTRIES
from app.demo.sizes import LEAST_BOOKINGS, MOST_BOOKINGS_PER_LAUNCH, Sizes
from app.demo.world import COUNTED, World, make_world, midnight
from app.stores.vocabulary import BookingStatus, LaunchStatus
from tests.app.demo.worlds import BASE, LEAST


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(Sizes.of(4000), random_seed=5, base=BASE)


def test_the_same_seed_makes_the_same_world():
    first, again = (make_world(LEAST, random_seed=5, base=BASE) for _ in range(2))

    assert pickle.dumps(first.bookings) == pickle.dumps(again.bookings)
    assert pickle.dumps(first.customers) == pickle.dumps(again.customers)
    assert first.rockets == again.rockets


def test_another_seed_makes_another_world():
    first, other = (make_world(LEAST, random_seed=seed, base=BASE) for seed in (1, 2))

    assert not {booking.id for booking in first.bookings} & {booking.id for booking in other.bookings}


def test_the_base_is_the_same_all_day():
    morning, night = datetime(2026, 3, 1, 0, 0, 1, tzinfo=UTC), datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC)

    assert midnight(morning) == midnight(night) == BASE


def test_it_has_the_sizes_asked_for(world):
    assert (len(world.bookings), len(world.customers), len(world.launches)) == (4000, 800, 160)


def test_no_launch_sells_more_seats_than_it_has(world):
    sold = Counter()
    for booking in world.bookings:
        sold[booking.launch_id] += booking.number_of_seats * (booking.status in COUNTED)

    assert all(sold[launch.id] == launch.sold <= launch.total_seats for launch in world.launches)


def test_the_status_of_a_booking_follows_its_launch(world):
    launches = {launch.id: launch for launch in world.launches}
    possible = {
        LaunchStatus.COMPLETED: {BookingStatus.COMPLETED, BookingStatus.CANCELLED},
        LaunchStatus.ABORTED: {BookingStatus.CANCELLED},
        LaunchStatus.SCHEDULED: {BookingStatus.CONFIRMED, BookingStatus.CANCELLED},
        LaunchStatus.DELAYED: {BookingStatus.CONFIRMED, BookingStatus.CANCELLED},
    }

    for booking in world.bookings:
        assert booking.status in possible[launches[booking.launch_id].status]
        assert (booking.cancellation_date is not None) == (booking.status is BookingStatus.CANCELLED)


def test_times_are_in_order_and_long_settled(world):
    customers = {customer.id: customer for customer in world.customers}
    launches = {launch.id: launch for launch in world.launches}

    for booking in world.bookings:
        buyer, launch = customers[booking.customer_id], launches[booking.launch_id]
        assert buyer.created_at <= booking.booking_date
        assert launch.created_at <= booking.booking_date < launch.launch_date
        assert booking.cancellation_date is None or booking.booking_date <= booking.cancellation_date
    everything = [*world.bookings, *world.customers, *world.launches]
    assert max(record.updated_at for record in everything) < BASE - timedelta(hours=20)
    assert all(record.created_at <= record.updated_at for record in everything)


def test_launches_lie_before_and_after_today(world):
    days = [(launch.launch_date - BASE).days for launch in world.launches]

    assert min(days) < -300
    assert max(days) > 200


def test_emails_are_unique_and_reach_nobody(world):
    emails = [customer.email for customer in world.customers]

    assert len(set(emails)) == len(emails)
    assert all(email.isascii() and email.split("@")[1].startswith("example.") for email in emails)


def test_people_come_from_every_country(world):
    assert {customer.country for customer in world.customers} == set(COUNTRIES.values())


def test_some_customers_never_booked_and_some_are_vips(world):
    assert 0.03 < sum(customer.booked == 0 for customer in world.customers) / 800 < 0.2
    assert 0.02 < sum(customer.is_vip for customer in world.customers) / 800 < 0.09


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ((LEAST_BOOKINGS - 1,), "at least 500"),
        ((-5,), "at least 500"),
        ((1000, 3), "customers"),
        ((1000, None, 0), "launches"),
        ((40 * MOST_BOOKINGS_PER_LAUNCH + 1, None, 40), "at least 41"),
        ((10_000_000,), "is the most"),
    ],
)
def test_sizes_that_cannot_be_are_refused(asked, why):
    with pytest.raises(ValueError, match=why):
        Sizes.of(*asked)
