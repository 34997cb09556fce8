// Package action defines stateless services: they keep nothing between two calls, so any number of calls run side by
// side. An action checks and translates before it forwards to an entity, joins what several know, answers with a stream,
// takes one, or handles the events of entities.
//
//	var Service = action.Service{
//		Service: "chat.v1.Import",
//		Methods: []action.Method{
//			action.Handle(One, importOne),     // func(ctx, *action.Turn, In) (Out, error)
//			action.HandleIn(All, importAll),   // func(ctx, *action.Turn, iter.Seq2[In, error]) (Out, error)
//			action.HandleOut(Tail, tail),      // func(ctx, *action.Turn, In, func(Out) error) error
//			action.HandleDuplex(Chat, chat),   // func(ctx, *action.Turn, iter.Seq2[In, error], func(Out) error) error
//		},
//	}
//
// A handler's error is the caller's: the code and text of an *sdk.Error reach it, another error is Unknown and reaches it
// as its text. Effects that the handler has asked for are carried out all the same, because an action has no state that
// they could contradict. A panic is contained: the caller gets Internal, the log the stack, and no effect is carried out;
// a panic in a goroutine that the handler starts cannot be contained.
//
// # Streams
//
// Inputs are ranged over. The next one is read when the loop asks for it, and a reply is sent when send is called, which
// blocks while the caller takes no more: nothing piles up in between. Both end with an error when the caller has gone.
// Most handlers need no more than that. When the replies of a stream differ in kind, each takes along what was asked for
// since the one before it: effects, and metadata. SendForward hands one reply to somebody else, Turn.SendFailure is one
// that fails, and Turn.Flush sends effects without a reply. Callers that come through the entities component see a
// stream end at its first failure.
//
// # Events
//
// sdk.FromLog and sdk.FromTopic make a method the handler of events, which Turn.Event tells from other calls:
//
//	action.Handle(Welcome, welcome, sdk.FromLog("customers"), sdk.Event("registered"))
//
// An event is delivered at least once, so what its handler does must bear repetition. Turn.IdempotencyKey is the same on
// every attempt, and effects to entities that it asks for are told apart by themselves.
package action
