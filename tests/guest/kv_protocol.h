// The test guest's key-value service over UDP, as client and guest both see it. Freestanding: no library, no allocation.
//
// One request a datagram, one reply a datagram, little-endian, no padding. A request is executed once by its id: a repeated id gets the
// stored reply again, byte for byte. Every reply carries the count of executed requests and a checksum chained over all state so far, so
// that a lost, repeated or contradicted execution shows in the very next reply.
//
// An order to end is no request of that kind: nothing is counted, nothing answers it, and a guest of another boot passes it over. So it may
// be repeated until replies come from another boot.
#pragma once

#include <cstdint>

namespace understudy::guest {

inline constexpr std::uint16_t kKvPort = 7070;
inline constexpr std::uint32_t kKvRequestMagic = 0x51564B55;  // "UKVQ"
inline constexpr std::uint32_t kKvReplyMagic = 0x52564B55;    // "UKVR"
inline constexpr std::uint32_t kKvKeyCount = 4096;            // keys are 0 to kKvKeyCount - 1
inline constexpr std::uint32_t kKvMaxClients = 64;            // client ids are 0 to kKvMaxClients - 1
inline constexpr std::uint32_t kKvRememberedReplies = 64;     // per client: an id this far behind the newest is kTooOld

enum class KvOperation : std::uint32_t { kGet = 1, kPut = 2, kAdd = 3, kEnd = 4 };
enum class KvStatus : std::uint32_t { kOk = 0, kBadRequest = 1, kTooOld = 2 };

// How the guest is to end itself, when the replies to what it executed are on their way.
enum class GuestEnd : std::uint32_t { kReset = 1, kPowerOff = 2, kTripleFault = 3 };

struct KvRequest {
  std::uint32_t magic;
  std::uint32_t client;
  std::uint64_t id;  // per client, from 1, ascending; the client keeps at most kKvRememberedReplies unanswered
  std::uint32_t operation;
  std::uint32_t key;    // kEnd: the GuestEnd
  std::uint64_t value;  // kEnd: the boot_count of the boot that is to end
};
static_assert(sizeof(KvRequest) == 32);

struct KvReply {
  std::uint32_t magic;
  std::uint32_t client;
  std::uint64_t id;
  std::uint32_t status;
  std::uint32_t boot_count;      // a guest that rebooted answers with another number
  std::uint64_t value;           // after the operation
  std::uint64_t sequence;        // requests executed so far, this one included
  std::uint64_t state_checksum;  // chained: next_checksum(previous, request, value)
};
static_assert(sizeof(KvReply) == 48);

// FNV-1a's step over 64-bit words: weak and quick, enough to tell two histories apart.
constexpr std::uint64_t mix(std::uint64_t checksum, std::uint64_t word) { return (checksum ^ word) * 0x100000001B3ULL; }
inline constexpr std::uint64_t kKvInitialChecksum = 0xCBF29CE484222325ULL;
constexpr std::uint64_t next_checksum(std::uint64_t previous, const KvRequest& request, std::uint64_t value_after) {
  std::uint64_t sum = mix(previous, request.client);
  sum = mix(sum, request.id);
  sum = mix(sum, (std::uint64_t{request.operation} << 32) | request.key);
  return mix(sum, value_after);
}

}  // namespace understudy::guest
