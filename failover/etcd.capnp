# etcd's messages of the v3 API as far as the arbiter uses them, in the form of its JSON gateway (etcd 3.4, `api_reference_v3.md` and
# `api_grpc_gateway.md`): bytes are base64 texts, 64-bit numbers are strings, what is zero or empty may be left out. And what is stored there.
@0xd5b2e8a4916f3c07;

using Cxx = import "/capnp/c++.capnp";
using Json = import "/capnp/compat/json.capnp";
$Cxx.namespace("understudy::schema");

struct EtcdCompare {
  result @0 :Text;
  target @1 :Text;
  key @2 :Text;
  modRevision @3 :Int64 $Json.name("mod_revision");
}

struct EtcdRangeRequest {
  key @0 :Text;
}

struct EtcdPutRequest {
  key @0 :Text;
  value @1 :Text;
}

struct EtcdRequestOp {  # one of the two
  requestRange @0 :EtcdRangeRequest $Json.name("request_range");
  requestPut @1 :EtcdPutRequest $Json.name("request_put");
}

struct EtcdTxnRequest {
  compare @0 :List(EtcdCompare);
  success @1 :List(EtcdRequestOp);
  failure @2 :List(EtcdRequestOp);
}

struct EtcdResponseHeader {
  clusterId @0 :UInt64 $Json.name("cluster_id");
  revision @1 :Int64;
}

struct EtcdKeyValue {
  key @0 :Text;
  value @1 :Text;
  modRevision @2 :Int64 $Json.name("mod_revision");
}

struct EtcdRangeResponse {
  kvs @0 :List(EtcdKeyValue);
}

struct EtcdResponseOp {
  responseRange @0 :EtcdRangeResponse $Json.name("response_range");
}

struct EtcdTxnResponse {
  header @0 :EtcdResponseHeader;
  succeeded @1 :Bool;
  responses @2 :List(EtcdResponseOp);
}

struct EtcdFault {  # what the gateway says beside a status that is not 200
  message @0 :Text;
}

# The two values that are kept. Fields are only appended.
struct StoredEtcdIdentity {
  cluster @0 :UInt64;  # that was set up; another one now means that its content comes from a backup
  store @1 :UInt64;    # random, new with each setting up
  amnesiac @2 :Bool;
}
struct StoredEtcdPair {
  store @0 :UInt64;  # that it was written to; another one now means that there may have been later grants
  pair @1 :Data;     # a StoredWitnessPair (witness.capnp)
}
