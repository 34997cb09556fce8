// Package daprstate is a journal in a Dapr state store.
package daprstate
