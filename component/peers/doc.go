// Package peers connects the members that replicate entities: what one tells all others (replica.Bus), and what one asks
// another (replica.Peers).
//
//	Journal   a bus over the Postgres that the members share as their journal
//	Topic     a bus over a Dapr pub/sub component, of any broker
//	Direct    questions by gRPC, from process to process, at the address in a member's slot
//	Link      both over one bus, where there is no such address
package peers
