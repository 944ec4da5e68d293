"""Whatever a test does to its databases, the next one finds them as new."""

import asyncio

import asyncpg
import pytest
from pymongo import MongoClient

from config.settings import Settings
from tests.database_shapes import Shape, shape_of
from tests.databases import CUSTOMER, Databases

CHANGES = {
    "rows": "INSERT INTO leases (name, holder, acquired_at, expires_at) VALUES ('a', 'b', now(), now())",
    "a table": "CREATE TABLE added (id int); INSERT INTO added VALUES (1)",
    "a type": "CREATE TYPE added AS ENUM ('a'); CREATE DOMAIN short AS varchar(3)",
    "a trigger": """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$no$$; END';
        CREATE TRIGGER refused BEFORE DELETE ON leases FOR EACH ROW EXECUTE FUNCTION refuse()
    """,
    "a column": "ALTER TABLE leases ALTER holder TYPE varchar(40)",
    "a lost table": "DROP TABLE leases",
    "a right": "REVOKE ALL ON leases FROM current_user",
    "statistics": "INSERT INTO leases VALUES ('a', 'b', now(), now()); ANALYZE leases",
}


async def _changed(settings: Settings, change: str) -> None:
    connection = await asyncpg.connect(settings.url("core_database_url"))
    await connection.execute(change)
    await connection.close()


async def _look(settings: Settings) -> tuple[Shape, int]:
    connection = await asyncpg.connect(settings.url("core_database_url"))
    try:
        return await shape_of(connection), await connection.fetchval("SELECT count(*) FROM leases")
    finally:
        await connection.close()


@pytest.mark.parametrize("change", CHANGES)
def test_a_database_is_as_new(databases: Databases, change: str) -> None:
    name = databases.take()
    settings = databases.settings(name, name)
    databases.give_back(name)
    assert databases.take() == name
    asyncio.run(_changed(settings, CHANGES[change]))
    databases.give_back(name)
    assert asyncio.run(_look(settings)) == (databases._shapes["core"], 0)


def test_collections_are_as_new(databases: Databases) -> None:
    name = databases.take()
    with MongoClient(databases.environment[CUSTOMER]) as client:
        database = client[name]
        before = {each: database[each].index_information() for each in database.list_collection_names()}
        database.customers.insert_one({"_id": 1})
        database.launches.create_index("price")
        database.drop_collection("bookings")
        database.added.insert_one({"_id": 1})
        databases.give_back(name)
        after = {each: database[each].index_information() for each in database.list_collection_names()}
        assert after == before
        assert [database[each].count_documents({}) for each in after] == [0] * 3
