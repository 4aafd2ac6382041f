// What Swift cannot import of sqlite3.h: destructor constants that are casts, variadic functions,
// and pointers into the caller's text; and of Linux, what glibc hides without _GNU_SOURCE.
#pragma once
#include <fcntl.h>
#include <sqlite3.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/// Compiles the first statement of `count` bytes of SQL and tells how many bytes that took.
/// The statement is NULL when those bytes hold only white space and comments.
static inline int waystation_prepare(
    sqlite3 *database, const void *sql, int count, unsigned int flags, sqlite3_stmt **statement,
    int *consumed
) {
    const char *tail = (const char *)sql;
    int code = sqlite3_prepare_v3(database, (const char *)sql, count, flags, statement, &tail);
    *consumed = (int)(tail - (const char *)sql);
    return code;
}

// A NULL pointer would bind NULL instead of an empty value, hence the `""`.

/// Binds a copy of UTF-8 text, which may contain NUL.
static inline int waystation_bind_text(
    sqlite3_stmt *statement, int index, const void *text, size_t count
) {
    return sqlite3_bind_text64(
        statement, index, count ? (const char *)text : "", count, SQLITE_TRANSIENT, SQLITE_UTF8);
}

/// Binds a copy of bytes.
static inline int waystation_bind_bytes(
    sqlite3_stmt *statement, int index, const void *bytes, size_t count
) {
    return sqlite3_bind_blob64(statement, index, count ? bytes : "", count, SQLITE_TRANSIENT);
}

/// Binds bytes that the caller keeps alive and unchanged until it binds something else.
static inline int waystation_bind_borrowed_bytes(
    sqlite3_stmt *statement, int index, const void *bytes, size_t count
) {
    return sqlite3_bind_blob64(statement, index, count ? bytes : "", count, SQLITE_STATIC);
}

/// Binds UTF-8 text that the caller keeps alive and unchanged until it binds something else.
static inline int waystation_bind_borrowed_text(
    sqlite3_stmt *statement, int index, const void *text, size_t count
) {
    return sqlite3_bind_text64(
        statement, index, count ? (const char *)text : "", count, SQLITE_STATIC, SQLITE_UTF8);
}

/// Sets one of the SQLITE_DBCONFIG switches and reports what is in force afterwards.
static inline int waystation_configure(sqlite3 *database, int option, int on, int *in_force) {
    return sqlite3_db_config(database, option, on, in_force);
}

/// The main database's write-ahead log; NULL when there is none.
static inline sqlite3_file *waystation_log(sqlite3 *database) {
    sqlite3_file *log = 0;
    int code = sqlite3_file_control(database, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
    return code == SQLITE_OK && log && log->pMethods ? log : 0;
}

/// The size of the main database's write-ahead log, in bytes; 0 when there is none.
static inline sqlite3_int64 waystation_log_size(sqlite3 *database) {
    sqlite3_file *log = waystation_log(database);
    sqlite3_int64 size = 0;
    return log && log->pMethods->xFileSize(log, &size) == SQLITE_OK ? size : 0;
}

/// Makes the length of the main database's write-ahead log durable, if there is one.
static inline int waystation_sync_log(sqlite3 *database) {
    sqlite3_file *log = waystation_log(database);
    return log ? log->pMethods->xSync(log, SQLITE_SYNC_NORMAL) : SQLITE_OK;
}

/// How every connection of the process uses memory; without effect once SQLite is in use.
///
/// Its memory is not counted, which takes a lock at each allocation. What a savepoint may have to
/// put back stays in memory instead of a temporary file.
static inline void waystation_configure_process(void) {
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    sqlite3_config(SQLITE_CONFIG_STMTJRNL_SPILL, -1);
}

/// Gives the process's SQLite room for `count` cached pages of up to 4,096 bytes that it need not
/// allocate one by one; without effect once SQLite is in use. More pages are allocated as ever.
static inline void waystation_reserve_pages(int count) {
    int header = 0;
    sqlite3_config(SQLITE_CONFIG_PCACHE_HDRSZ, &header);
    int size = (4096 + header + 7) & ~7;
    void *pages = malloc((size_t)size * (size_t)count);
    if (pages) sqlite3_config(SQLITE_CONFIG_PAGECACHE, pages, size, count);
}

/// Makes the process's SQLite randomness repeat itself from here on; for simulators only.
static inline void waystation_seed_randomness(int seed) {
    sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, seed, (sqlite3 *)0);
}

/// Exchanges two files' names in one step, as renameat2(2) does with RENAME_EXCHANGE.
static inline int waystation_exchange(const char *one, const char *other) {
    return (int)syscall(SYS_renameat2, AT_FDCWD, one, AT_FDCWD, other, 1u << 1);
}
