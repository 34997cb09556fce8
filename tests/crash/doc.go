// Package crash kills processes under load and checks that the promises held: nothing acknowledged is lost, sequences
// are dense, a command with a key is applied once, every entity is linearizable.
package crash
