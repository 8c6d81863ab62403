//! Prints a Fibonacci number: fibonacci(0) is 0, fibonacci(1) is 1, and each further one is the sum of the two before it.
const std = @import("std");

const largest = 93; // the last one that 64 bits hold

fn fibonacci(n: u8) u64 {
    var a: u64 = 0;
    var b: u64 = 1;
    for (0..n) |_| {
        const sum = a +% b;
        a = b;
        b = sum;
    }
    return a;
}

fn argument(init: std.process.Init) !u8 {
    var arguments = try init.minimal.args.iterateAllocator(init.gpa);
    _ = arguments.next(); // the program's own name
    const word = arguments.next() orelse return error.Missing;
    const n = try std.fmt.parseInt(u8, word, 10);
    return if (n > largest or arguments.next() != null) error.Wrong else n;
}

pub fn main(init: std.process.Init) !void {
    const n = argument(init) catch {
        std.debug.print("usage: fibonacci N, with N from 0 to {d}\n", .{largest});
        std.process.exit(2);
    };
    var buffer: [64]u8 = undefined;
    var out = std.Io.File.stdout().writer(init.io, &buffer);
    try out.interface.print("fibonacci({d}) = {d}\n", .{ n, fibonacci(n) });
    try out.interface.flush();
}
