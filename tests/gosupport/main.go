// Command gosupport is a Cloudstate user function written with Cloudstate's own Go library, version 0.3.0, which knows
// nothing of this project: the library's shopping cart example and its event-sourced conformance model, served as they
// are. The end-to-end tests put it behind the component to show that such user functions run unmodified.
package main

import (
	"log"

	"github.com/cloudstateio/go-support/cloudstate"
	"github.com/cloudstateio/go-support/cloudstate/eventsourced"
	"github.com/cloudstateio/go-support/cloudstate/protocol"
	"github.com/cloudstateio/go-support/example/shoppingcart"
	tck "github.com/cloudstateio/go-support/tck/eventsourced"
)

// The library listens on $HOST:$PORT.
func main() {
	server, err := cloudstate.New(protocol.Config{ServiceName: "gosupport", ServiceVersion: "0.3.0"})
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range []struct {
		entity     *eventsourced.Entity
		descriptor protocol.DescriptorConfig
	}{
		{&eventsourced.Entity{
			ServiceName:   "com.example.shoppingcart.ShoppingCart",
			PersistenceID: "ShoppingCart",
			EntityFunc:    shoppingcart.NewShoppingCart,
			SnapshotEvery: 5,
		}, protocol.DescriptorConfig{Service: "shoppingcart.proto"}.AddDomainDescriptor("domain.proto")},
		{&eventsourced.Entity{
			ServiceName:   "cloudstate.tck.model.EventSourcedTckModel",
			PersistenceID: "event-sourced-tck-model",
			EntityFunc:    tck.NewTestModel,
			SnapshotEvery: 5,
		}, protocol.DescriptorConfig{Service: "eventsourced.proto"}},
	} {
		if err := server.RegisterEventSourced(r.entity, r.descriptor); err != nil {
			log.Fatal(err)
		}
	}
	if err := server.Run(); err != nil {
		log.Fatal(err)
	}
}
