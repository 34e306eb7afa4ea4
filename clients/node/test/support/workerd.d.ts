/** The path of the program. */
declare module 'workerd' {
  const workerd: { default: string };
  export default workerd;
}
