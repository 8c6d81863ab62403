;; Imports from the older snapshot alone, and exits with 0 if what differs in it has the older layout, else with the
;; number of the check that failed.
(module
  (import "wasi_unstable" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_unstable" "fd_filestat_get" (func $fd_filestat_get (param i32 i32) (result i32)))
  (import "wasi_unstable" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_unstable" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 512) "from the older snapshot\n")

  (func $check (param $number i32) (param $holds i32)
    (if (i32.eqz (local.get $holds)) (then (call $proc_exit (local.get $number)))))

  (func (export "_start")
    ;; A clock at 0, a write to standard output at 56: the second is ready at once.
    (i64.store (i32.const 0) (i64.const 7))
    (i32.store (i32.const 24) (i32.const 1))
    (i64.store (i32.const 32) (i64.const 3_600_000_000_000))
    (i64.store (i32.const 56) (i64.const 8))
    (i32.store8 (i32.const 64) (i32.const 2))
    (i32.store (i32.const 72) (i32.const 1))
    (call $check (i32.const 1)
      (i32.eqz (call $poll_oneoff (i32.const 0) (i32.const 128) (i32.const 2) (i32.const 256))))
    (call $check (i32.const 2) (i32.eq (i32.load (i32.const 256)) (i32.const 1)))
    (call $check (i32.const 3) (i64.eq (i64.load (i32.const 128)) (i64.const 8)))

    ;; The clock alone, for a millisecond.
    (i64.store (i32.const 32) (i64.const 1_000_000))
    (call $check (i32.const 4)
      (i32.eqz (call $poll_oneoff (i32.const 0) (i32.const 128) (i32.const 1) (i32.const 256))))
    (call $check (i32.const 5) (i64.eq (i64.load (i32.const 128)) (i64.const 7)))
    (call $check (i32.const 6) (i32.eqz (i32.load16_u (i32.const 136))))

    ;; A record of 56 bytes: what follows it stays.
    (i64.store (i32.const 376) (i64.const -1))
    (call $check (i32.const 7) (i32.eqz (call $fd_filestat_get (i32.const 1) (i32.const 320))))
    (call $check (i32.const 8) (i64.eq (i64.load (i32.const 376)) (i64.const -1)))

    (i32.store (i32.const 400) (i32.const 512))
    (i32.store (i32.const 404) (i32.const 24))
    (call $check (i32.const 9)
      (i32.eqz (call $fd_write (i32.const 1) (i32.const 400) (i32.const 1) (i32.const 408)))))
)
