# Keys, and how two nodes exchange them: for `understudy keygen` and `understudy pair`. A target of its own: it needs no more than the links.
add_library(understudy_keys STATIC pair_command.cpp pair_exchange.cpp)
understudy_room(understudy_keys failover pair_command.h pair_exchange.h)
target_link_libraries(understudy_keys PUBLIC understudy_net PRIVATE PkgConfig::sodium fmt::fmt)
