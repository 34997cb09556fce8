// Package crdtjson is how people write to replicated values, and read them: operations and values in JSON.
//
//	type         operations                              value
//	gcounter     {"increment": 2}                        2
//	pncounter    {"increment": 2}  {"decrement": 1}      1
//	gset         {"add": ["a"]}                          ["a"]
//	orset        {"add": ["a"], "remove": ["b"]}         ["a"]
//	             {"clear": true}
//	lwwregister  {"set": "x"}  "x"                       "x"
//	flag         {"enable": true}  true                  true
//	ormap        {"put": {"k": {"add": ["a"]}},          {"k": ["a"]}
//	             "remove": ["l"]}  {"clear": true}
//	vote         {"vote": true}  true                    {"for": 2, "total": 3, "self": true}
//
// Operations of one kind of thing may stand in one: clear happens first, then remove, then add or put.
//
// What a map's entry is follows from its operation: a pncounter from increment and decrement, an orset from add, a
// lwwregister from set, a flag from enable, an ormap from put, a vote from vote. The member type names another, and is
// needed where there is nothing but remove or clear: {"type": "gset", "add": ["a"]}.
//
// Elements of sets are any JSON. They are the same if they mean the same: spaces, the order of members and the way in which
// a string or a number is written do not matter. The value of a register stays as it was written, without the spaces.
package crdtjson
