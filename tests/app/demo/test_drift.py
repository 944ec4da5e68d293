import hashlib
import subprocess
import sys
from collections import Counter
from datetime import timedelta

import pytest
from bson import Decimal128

from app.demo.cases import Expected
from app.demo.drift import KINDS, SEATS_FOLLOW
from app.demo.seeding import truth_line
from app.demo.shapes import ENTITIES, Catalogue, canonical_document, canonical_row
from app.demo.sizes import Sizes
from app.demo.world import COUNTED, World
from tests.app.demo.worlds import BASE, LEAST, documents, drifted, rows

SEEDS = range(6)
CHANGE_FLOOR, CHANGE_RATIO = 100, 0.05  # what the circuit breaker lets through unless it is set otherwise


def of_injection(drift, entity, injection):
    found = [line for line in drift.truth if (line.entity, line.injection) == (entity, injection)]
    assert found
    return found


def both_sides(world, drift, entity):
    """Every record that is on both sides, in canonical form."""
    catalogue = Catalogue(world)
    right = rows(world, drift, entity)
    for key, document in documents(world, drift, entity).items():
        if key in right:
            row = catalogue.joined_launch(right[key]) if entity == "launches" else right[key]
            yield str(key), canonical_document(entity, document), canonical_row(entity, row)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_kind_is_there_even_in_the_least_world(seed):
    _world, drift = drifted(LEAST, seed=seed)

    injected = {(line.entity, line.injection) for line in drift.truth}
    assert injected - {("launches", SEATS_FOLLOW)} == {
        (entity, kind.name) for entity in KINDS for kind in KINDS[entity]
    }
    assert ("launches", SEATS_FOLLOW) in injected


@pytest.mark.parametrize("seed", SEEDS)
def test_a_record_has_one_injection_at_most(seed):
    _world, drift = drifted(Sizes.of(1000), seed=seed)

    assert max(Counter((line.entity, line.id) for line in drift.truth).values()) == 1


def test_no_share_is_no_drift():
    world, drift = drifted(share=0)

    assert drift.truth == []
    assert len(documents(world, drift, "bookings")) == len(rows(world, drift, "bookings")) == 500


@pytest.mark.parametrize(("bookings", "seed"), [(10_000, 1), (100_000, 2)])
def test_the_circuit_breaker_lets_every_repair_through(bookings, seed):
    world, drift = drifted(Sizes.of(bookings), seed=seed)

    touched = Counter(line.entity for line in drift.truth if line.expected is Expected.REPAIR)
    for entity in ENTITIES:
        assert touched[entity] <= max(CHANGE_FLOOR, CHANGE_RATIO * len(getattr(world, entity)))
    assert len(of_injection(drift, "launches", "extra_in_read_model")) <= 15
    if bookings == 100_000:
        assert touched["launches"] <= 0.03 * len(world.launches)
        assert len(of_injection(drift, "launches", SEATS_FOLLOW)) <= 0.09 * 1000


@pytest.mark.parametrize("seed", SEEDS)
def test_records_that_the_truth_does_not_name_are_equal_on_both_sides(seed):
    world, drift = drifted(Sizes.of(1000), seed=seed)
    named = {(line.entity, line.id) for line in drift.truth if line.expected is not Expected.EQUAL}

    for entity in ENTITIES:
        for key, document, row in both_sides(world, drift, entity):
            document.pop("available_seats", None)
            assert (document != row) == ((entity, key) in named) or (
                entity == "launches" and (entity, key) in named
            )
        assert set(documents(world, drift, entity)) ^ set(rows(world, drift, entity)) <= {
            key for key in drift.documents[entity] if (entity, str(key)) in named
        }


@pytest.mark.parametrize("seed", SEEDS)
def test_seats_are_right_wherever_the_truth_does_not_say_otherwise(seed):
    """Recounted from the bookings as they must be in the end, by a way of its own."""
    world, drift = drifted(Sizes.of(1000), seed=seed)
    after = {line.id: line.after for line in drift.truth if line.after}
    expected = {line.id: line.after for line in drift.truth if line.entity == "launches" and line.after}
    named = {line.id for line in drift.truth if line.expected is Expected.REPAIR}

    sold = Counter()
    for key, document in documents(world, drift, "bookings").items():
        final = after.get(str(key)) or canonical_document("bookings", document)
        sold[final["launch_id"]] += final["number_of_seats"] * (final["status"] in COUNTED)

    stored = documents(world, drift, "launches")
    for launch in rows(world, drift, "launches").values():
        right = launch["total_seats"] - sold[str(launch["id"])]
        assert right >= 0
        if str(launch["id"]) in expected:
            assert expected[str(launch["id"])]["available_seats"] == right
        else:
            assert stored[launch["id"]]["available_seats"] == right
        if str(launch["id"]) not in named:
            assert launch["id"] in stored


def test_some_repaired_bookings_leave_the_count_right_and_some_do_not():
    _world, drift = drifted(Sizes.of(10_000))
    named = {line.id for line in drift.truth if line.entity == "launches"}

    def launches(injection):
        return {line.after["launch_id"] for line in of_injection(drift, "bookings", injection)}

    assert launches("cancelled_in_admin_seats_held") <= named
    assert not launches("cancelled_in_admin_seats_right") <= named


def test_the_document_side_alone_says_when_a_booking_was_cancelled():
    world, drift = drifted(Sizes.of(10_000))
    stored = rows(world, drift, "bookings")
    lines = of_injection(drift, "bookings", "cancelled_in_admin_missed")

    for line in lines:
        assert line.after["status"] == "Cancelled"
        assert line.after["cancellation_date"] is None
    assert any(str(key) == lines[0].id and row["cancellation_date"] for key, row in stored.items())


def test_a_look_alike_is_no_decoy():
    world, drift = drifted()
    line = of_injection(drift, "customers", "look_alike_relational")[0]
    spelled = {key: (document, row) for key, document, row in both_sides(world, drift, "customers")}[line.id]

    assert line.expected is Expected.REPAIR
    assert line.after["first_name"] == spelled[0]["first_name"] != spelled[1]["first_name"]


def test_colliding_customers_have_one_email_and_no_bookings():
    world, drift = drifted()
    pair = [line.id for line in of_injection(drift, "customers", "email_collision")]

    emails = [
        document["email"]
        for document in documents(world, drift, "customers").values()
        if str(document["_id"]) in pair
    ]
    emails += [row["email"] for row in rows(world, drift, "customers").values() if str(row["id"]) in pair]
    assert len(pair) == len(emails) == 2
    assert emails[0] == emails[1]
    assert not any(
        str(booking["customer_id"]) in pair for booking in documents(world, drift, "bookings").values()
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_the_admin_db_can_hold_what_it_is_given(seed):
    """Its foreign keys, its unique e-mails and its checks, as `CREATE TABLE` has them."""
    world, drift = drifted(Sizes.of(1000), seed=seed)
    customers, launches, bookings = (rows(world, drift, entity) for entity in ENTITIES)

    assert len({row["email"] for row in customers.values()}) == len(customers)
    assert len({each["email"] for each in documents(world, drift, "customers").values()}) == len(
        documents(world, drift, "customers")
    )
    for row in bookings.values():
        assert row["customer_id"] in customers
        assert row["launch_id"] in launches
        assert 1 <= row["number_of_seats"] <= 6


def test_everything_was_changed_some_minutes_before_the_day_began():
    world, drift = drifted(Sizes.of(1000))

    for entity in ENTITIES:
        for record in [*documents(world, drift, entity).values(), *rows(world, drift, entity).values()]:
            assert record["updated_at"] <= BASE - timedelta(minutes=10)


def test_decoys_are_really_stored_differently():
    world, drift = drifted(Sizes.of(10_000))
    stored, plain = documents(world, drift, "bookings"), rows(world, drift, "bookings")

    def case(injection):
        key = next(key for key in stored if str(key) == of_injection(drift, "bookings", injection)[0].id)
        return stored[key], plain[key]

    document, row = case("decimal_scale")
    assert str(document["total_price"]) != str(Decimal128(row["total_price"]))
    document, row = case("sub_millisecond")
    assert timedelta() < row["booking_date"] - document["booking_date"] < timedelta(milliseconds=1)
    document, row = case("null_or_missing")
    assert "cancellation_date" not in document
    assert row["cancellation_date"] is None
    document, row = case("field_order")
    assert list(document)[1:] == ["updated_at", *reversed(list(row)[1:-1])]


def test_the_same_seed_drifts_the_same_in_another_process():
    """Sets of text have another order there."""
    program = (
        "import hashlib; from tests.app.demo.worlds import drifted; from app.demo.seeding import truth_line;"
        "print(hashlib.sha256(''.join(map(truth_line, drifted()[1].truth)).encode()).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    here = hashlib.sha256("".join(map(truth_line, drifted()[1].truth)).encode()).hexdigest()
    assert there.stdout.strip() == here


def test_a_world_without_a_fitting_record_is_refused():
    world: World = drifted()[0]
    world.bookings = [each for each in world.bookings if each.status == "Confirmed"]

    from app.demo.drift import make_drift

    with pytest.raises(ValueError, match="ask for more bookings"):
        make_drift(world, share=0.01, random_seed=1)
