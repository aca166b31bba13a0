#include "tests/guest/kv_service.h"

#include <cstring>

namespace understudy::guest {

std::size_t KvService::answer(InBytes request_bytes, OutBytes answer_bytes) {
  KvRequest request{};
  if (request_bytes.size() != sizeof request || answer_bytes.size() < sizeof(KvReply)) return 0;
  std::memcpy(&request, request_bytes.data(), sizeof request);
  if (request.magic != kKvRequestMagic) return 0;

  const bool may_end =
      request.key >= static_cast<std::uint32_t>(GuestEnd::kReset) && request.key <= static_cast<std::uint32_t>(GuestEnd::kTripleFault);
  if (request.operation == static_cast<std::uint32_t>(KvOperation::kEnd) && may_end) {
    if (request.value == boot_count_) end_asked_ = static_cast<GuestEnd>(request.key);
    return 0;
  }

  KvReply reply{};
  const bool known = request.operation >= static_cast<std::uint32_t>(KvOperation::kGet) &&
                     request.operation <= static_cast<std::uint32_t>(KvOperation::kAdd);
  if (!known || request.client >= kKvMaxClients || request.key >= kKvKeyCount || request.id == 0) {
    reply = reply_to(request, KvStatus::kBadRequest, 0);
  } else {
    Client& client = clients_[request.client];
    const KvReply& remembered = client.replies[request.id % kKvRememberedReplies];
    if (remembered.id == request.id)
      reply = remembered;
    else if (client.newest >= kKvRememberedReplies && request.id <= client.newest - kKvRememberedReplies)
      reply = reply_to(request, KvStatus::kTooOld, 0);
    else
      reply = execute(request, client);
  }
  std::memcpy(answer_bytes.data(), &reply, sizeof reply);
  return sizeof reply;
}

KvReply KvService::reply_to(const KvRequest& request, KvStatus status, std::uint64_t value) const {
  return {.magic = kKvReplyMagic,
          .client = request.client,
          .id = request.id,
          .status = static_cast<std::uint32_t>(status),
          .boot_count = boot_count_,
          .value = value,
          .sequence = sequence_,
          .state_checksum = checksum_};
}

KvReply KvService::execute(const KvRequest& request, Client& client) {
  std::uint64_t& value = values_[request.key];
  const auto operation = static_cast<KvOperation>(request.operation);
  if (operation == KvOperation::kPut) value = request.value;
  if (operation == KvOperation::kAdd) value += request.value;
  ++sequence_;
  checksum_ = next_checksum(checksum_, request, value);
  if (operation != KvOperation::kGet && mutation_count_ < kMaxMutations)
    mutations_[mutation_count_++] = {.request = request, .value = value, .sequence = sequence_, .state_checksum = checksum_};
  const KvReply reply = reply_to(request, KvStatus::kOk, value);
  client.replies[request.id % kKvRememberedReplies] = reply;
  if (request.id > client.newest) client.newest = request.id;
  return reply;
}

}  // namespace understudy::guest
