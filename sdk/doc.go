// Package sdk is for programs with handlers for entities, and for their callers.
//
// A handler program is the "user function" of the inverted protocol: it holds no database and opens no port to the
// world. The entities component finds it, asks what it serves, and from then on calls it: here is an entity, here are its
// events, here is a command. What the handler answers is made durable before the caller hears of it.
//
//	server := sdk.NewServer(sdk.Config{Name: "shop"})
//	if err := server.Register(cart.Entity); err != nil {
//		return err
//	}
//	return server.ListenAndServe(ctx, "")
//
// The kinds of entities have a package each, such as sdk/eventsourced. A Method is declared once and shared by both
// sides: the entity binds a handler to it, and Invoke sends it with a caller of package sdk/client:
//
//	receipt, err := sdk.Invoke(ctx, client.Dapr(client.Config{}), cart.Checkout.On("cart-42", struct{}{}))
//
// An entity, or an action of package sdk/action, forwards a command, asks for effects, takes events from journals and
// topics, and publishes its replies: see Synchronous, FromLog and ToTopic.
//
// Package sdk/sdktest tests handlers without any of that.
package sdk
