/* Keeps a ledger in an SQLite database: makes it, changes it in transactions, and reads it back through an index. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

static sqlite3 *open_database(void) {
    sqlite3 *database;
    if (sqlite3_open("/ledger.db", &database) != SQLITE_OK) {
        fprintf(stderr, "open: %s\n", sqlite3_errmsg(database));
        exit(1);
    }
    return database;
}

static void run(sqlite3 *database, const char *sql) {
    char *fault = NULL;
    if (sqlite3_exec(database, sql, NULL, NULL, &fault) != SQLITE_OK) {
        fprintf(stderr, "%s: %s\n", sql, fault);
        exit(1);
    }
}

static void ask(sqlite3 *database, const char *sql) {
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v2(database, sql, -1, &statement, NULL) != SQLITE_OK) {
        fprintf(stderr, "%s: %s\n", sql, sqlite3_errmsg(database));
        exit(1);
    }
    while (sqlite3_step(statement) == SQLITE_ROW)
        for (int column = 0; column < sqlite3_column_count(statement); column++)
            printf("%s%c", sqlite3_column_text(statement, column), column + 1 < sqlite3_column_count(statement) ? ' ' : '\n');
    sqlite3_finalize(statement);
}

int main(void) {
    sqlite3 *database = open_database();
    run(database, "CREATE TABLE entry (id INTEGER PRIMARY KEY, account TEXT, amount INTEGER)");
    run(database, "CREATE INDEX by_account ON entry (account)");
    run(database, "BEGIN; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) "
                  "INSERT INTO entry SELECT i, 'a' || (i % 100), i FROM n; COMMIT");
    run(database, "BEGIN; DELETE FROM entry; ROLLBACK");
    sqlite3_close(database);
    database = open_database();
    ask(database, "SELECT count(*), sum(amount) FROM entry WHERE account = 'a7'");
    run(database, "DELETE FROM entry WHERE id % 2; VACUUM");
    ask(database, "SELECT count(*), sum(amount), (SELECT integrity_check FROM pragma_integrity_check) FROM entry");
    return sqlite3_close(database);
}
