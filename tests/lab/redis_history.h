// The judges of Redis: what its client was told, set against one Redis that never failed; and its append-only file after the run.
//
// Pure. Commands go over one connection in order, so the answers need no names and no times: the nth increment is told n, a key holds what
// it was set to, and there are as many keys as were set.
#pragma once

#include <span>
#include <string_view>

#include "tests/lab/disk_log.h"
#include "tests/lab/history.h"
#include "tests/lab/redis_workload.h"

namespace understudy::lab {

// `exchanges` as RedisWorkload has them: every answer in order, the reading back last.
HistoryFindings judge_redis(std::span<const RedisExchange> exchanges);

// `file`: the append-only file, which with `appendfsync always` holds a write before the client is told. Every acknowledged write must be
// in it, with its value. What follows the first bytes that are no command does not count.
DiskLogFindings judge_append_only_file(std::string_view file, std::span<const RedisExchange> exchanges);

}  // namespace understudy::lab
