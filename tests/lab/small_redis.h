// A Redis of a few lines, for the tests of its client and judges: SET, INCR, GET and DBSIZE, and any other command is answered as DBSIZE.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "tests/lab/resp.h"

namespace understudy::lab {

class SmallRedis {
 public:
  // Takes whole commands from the front of `asked`; returns the answers.
  std::string answer(std::string_view& asked) {
    std::string out;
    while (true) {
      const auto command = take_resp(asked);
      if (!command || !*command) return out;
      out += answer_one((*command)->items);
    }
  }

 private:
  std::string answer_one(const std::vector<RespValue>& words) {
    if (words[0].text == "SET") {
      keys_[words[1].text] = words[2].text;
      return "+OK\r\n";
    }
    if (words[0].text == "INCR") {
      auto& value = keys_[words[1].text];
      value = std::to_string(value.empty() ? 1 : std::stoull(value) + 1);
      return ":" + value + "\r\n";
    }
    if (words[0].text == "GET") {
      const auto found = keys_.find(words[1].text);
      return found == keys_.end() ? "$-1\r\n" : "$" + std::to_string(found->second.size()) + "\r\n" + found->second + "\r\n";
    }
    return ":" + std::to_string(keys_.size()) + "\r\n";
  }

  std::map<std::string, std::string> keys_;
};

}  // namespace understudy::lab
